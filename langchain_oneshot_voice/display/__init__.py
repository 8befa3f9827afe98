"""Shows a quote or a result as a card in a notebook, in Markdown or in a terminal.

    card.py      the content of a card, for all formats
    html.py      a card for a notebook, light and dark, without scripts
    markdown.py  a card for places without HTML
    terminal.py  a card as rich renderables; needs the extra `cli`

A stranger's words are always shown as text. These modules are imported at first use.
"""
