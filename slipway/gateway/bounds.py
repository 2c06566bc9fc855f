"""How much one request may ask for, beside the engine's own limits.

What an operator may want to change is an option instead. These bounds are far from honest use.
"""

# Azure's bound for a chat. A message has at least four tokens, so these alone fill a context of 8k.
MAX_MESSAGES = 2048
# Texts, blocks or calls of one message. Each costs some microseconds, in which no stream goes on.
MAX_PARTS = 512
# Of a response's input, where each call, result and thought is an item of its own.
MAX_ITEMS = 4 * MAX_MESSAGES
# OpenAI's bound.
MAX_STOP_STRINGS = 4
# Each is compared with the answer's end at every step.
MAX_BAD_WORDS = 128
# Characters in all. A stream holds text back while it may be the beginning of a stop string.
MAX_STOP_LENGTH = 1024
# Token ids that end an answer. The engine compares each with every token.
MAX_STOP_TOKENS = 64
# OpenAI's bound of n for chats; also of prompts in a list. Answers beyond the engine's slots wait in a queue.
MAX_CHOICES = 128
# OpenAI's for chats. Its plain completions allow 5, and clients of other servers ask for more.
MAX_TOP_LOGPROBS = 20
# Log-probabilities of prompts in one reply: of all tokens, and of the likeliest in their places. Each takes
# up to 70 bytes.
MAX_PROMPT_LOGPROBS = 1_000_000
# OpenAI's bound of tools.
MAX_TOOLS = 128
# OpenAI's bound of a bias, either way.
MAX_BIAS = 100
# Tokens with a bias. Each is an addition at every step of the answer, and a vocabulary has 150,000 entries.
MAX_BIASES = 2048
# Characters of a schema, grammar, regular expression or list of choices: OpenAI's bound for the names and
# values of a schema. The time to compile one may grow faster than its text.
MAX_GRAMMAR_LENGTH = 120_000
