"""Between text and tokens: tokenizer, detokenizer, chat template, stop strings, tool calls, reasoning."""
