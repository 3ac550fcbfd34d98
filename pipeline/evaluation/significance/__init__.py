"""Is it more than luck: tests of significance, each a plain function on losses per session."""
