"""Other people's harnesses: each adapter imports its harness only when it is itself imported."""
