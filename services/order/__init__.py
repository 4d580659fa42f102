"""Order: what people buy, the stock it comes from, and the saga that holds both and the payment together."""
