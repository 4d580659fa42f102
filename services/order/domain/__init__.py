"""The rules of orders, items and stock as pure functions; standard library only, time and ids are arguments."""
