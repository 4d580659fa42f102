"""Presence and typing: who is there and who types. Nothing of it is ever stored.

``service`` has the rpcs. A user's state is held by two of Chat's processes (``homes``, ``shelf``), which follow from the user's slot
and from which processes there are (``slots``, ``peers``); what it follows from is in ``domain``. Who asks or watches goes through
``roster``, a stream of it is in ``watching``. Typing goes from process to process without being held anywhere (``typists``).
"""
