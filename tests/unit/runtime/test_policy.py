"""What is not in the table is not served."""

import pytest

from services.runtime.errors import Refused
from services.runtime.policy import PUBLIC, PolicyGap, authorise, check


def test_a_table_that_fits_is_taken() -> None:
    check({"/a.A/Do": frozenset({"customer"}), "/a.A/Look": PUBLIC}, ["/a.A/Do", "/a.A/Look"])


def test_a_served_method_that_is_missing_is_named() -> None:
    with pytest.raises(PolicyGap, match=r"/a\.A/Other"):
        check({"/a.A/Do": frozenset({"customer"})}, ["/a.A/Do", "/a.A/Other"])


@pytest.mark.parametrize("roles", [frozenset(), frozenset({"king"}), frozenset({"*", "customer"})])
def test_roles_that_do_not_exist_are_refused(roles: frozenset[str]) -> None:
    with pytest.raises(PolicyGap, match=r"/a\.A/Do"):
        check({"/a.A/Do": roles}, [])


def test_one_role_is_enough_and_none_is_not() -> None:
    authorise(frozenset({"customer", "shop"}), frozenset({"shop", "courier"}))
    with pytest.raises(Refused) as caught:
        authorise(frozenset({"customer"}), frozenset({"courier"}))
    assert caught.value.reason == "FORBIDDEN"
    with pytest.raises(Refused):
        authorise(frozenset({"customer"}), frozenset())
