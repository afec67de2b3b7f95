"""Resource providers: what Placement calls them, as a view over what hosts offer and servers take.

Theory: a host is a root provider. Its inventories are its row's numbers and its own offer, its usage the sum
over the rows of the servers on it. None of that is stored a second time, so none of it can drift. Only
what outside consumers keep here (their own providers, and what is allocated from those) has rows of its own.
"""
