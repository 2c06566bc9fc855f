"""Between text and tokens: tokenizer, incremental detokenizer, chat template, stop strings."""
