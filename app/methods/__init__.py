"""The method cards: what each method is, costs and reaches."""
