"""Several machines of one house: what one of them does is in force on the others, and any of them may die."""
