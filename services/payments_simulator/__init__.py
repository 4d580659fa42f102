"""A payment gateway for tests and standalone: the whole contract of ``tradewind.payment.v1``, real and durable, except for the money.

It keeps payments in one SQLite file, is idempotent by key, and fails in every way a gateway can, chosen by the payment method's token:

=====================================  ==========================================================================================
token                                  what happens
=====================================  ==========================================================================================
``pm_ok``, ``pm_<word>_ok``            every step is done at once
``pm_declined``                        the issuer refuses, for ever
``pm_insufficient_funds``              the same, with ``decline_code`` ``insufficient_funds``
``pm_expired_card``                    the same, with ``decline_code`` ``expired_card``
``pm_slow[:ms]``                       each step takes so long (500), then is done and answered
``pm_unavailable_then_ok[:n]``         the first n (2) calls to authorise answer UNAVAILABLE and do nothing
``pm_internal_then_ok[:n]``            the same with INTERNAL (1)
``pm_timeout_before_apply[:n]``        the first n (1) calls to authorise do nothing and are never answered
``pm_timeout_after_apply``             the first call to authorise is done and never answered
``pm_unavailable_after_apply``         the first call to authorise is done and answers UNAVAILABLE
``pm_late[:ms]``                       the first call to authorise is never answered, and done so much later (3000), even when the caller
                                       has gone
``pm_capture_unavailable_then_ok[:n]``  the first n (2) calls to capture answer UNAVAILABLE and do nothing
``pm_capture_timeout_after_apply``     the first call to capture is done and never answered
``pm_void_unavailable_then_ok[:n]``    the first n (2) calls to void answer UNAVAILABLE and do nothing
``pm_void_timeout_after_apply``        the first call to void is done and never answered
anything else                          the issuer refuses, with ``decline_code`` ``unknown_method``
=====================================  ==========================================================================================

How often a step was called is kept with the payment, so a restart of the simulator changes nothing. "Never answered" ends with the
caller's deadline.
"""
