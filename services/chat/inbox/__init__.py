"""A user's conversations in order of activity, live; and receipts, live.

Nothing is written for it when somebody says something. The order is read from the ends of the conversations; a stream then hears which of
them grew, by what every process hears of every stored entry, and looks there again, a few times a second at most. What it has not told
yet is a set of names, so who reads slowly costs nothing and is told what is so by then.
"""
