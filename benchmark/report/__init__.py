"""`mldebug bench report`: what finished runs came to, in a terminal, as one page, and as pictures."""
