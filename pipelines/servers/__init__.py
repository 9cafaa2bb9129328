"""The one client of servers of language models, which speak OpenAI's protocol."""
