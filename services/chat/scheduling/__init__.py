"""Messages that are sent later. A user's scheduled messages are one aggregate, with a timer for the earliest of them."""
