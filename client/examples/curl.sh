#!/bin/sh
# Stream one answer with curl: `sh client/examples/curl.sh` (-N shows every token as it comes).
set -eu
url=${OPENAI_BASE_URL:-http://127.0.0.1:9000/v1}
model=${MODEL:-smollm2-135m-int4}
key=${OPENAI_API_KEY:-not needed}

curl -sN --fail-with-body "$url/chat/completions" -H "Content-Type: application/json" \
  -H "Authorization: Bearer $key" --data @- <<EOF
{
  "model": "$model",
  "messages": [{"role": "user", "content": "What is the capital of France?"}],
  "max_tokens": 64,
  "temperature": 0,
  "stream": true
}
EOF
