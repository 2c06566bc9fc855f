"""What an answer must look like: grammars, and what each engine makes of them."""
