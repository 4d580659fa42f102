"""Names that others gave to files."""

from tradewind.cli.chat_attachments import safe_name


def test_names_of_others_name_no_folder() -> None:
    assert safe_name("../../etc/passwd") == "passwd"
    assert safe_name("C:\\Windows\\a\u202egnp.exe") == "agnp.exe"
    assert safe_name("..") == safe_name("") == safe_name("/") == "attachment"
