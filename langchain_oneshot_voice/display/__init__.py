"""How a quote and a result look: in a notebook, in Markdown and in a terminal.

    card.py      what a card says, whatever it is drawn with
    html.py      a card for a notebook, light and dark, without scripts
    markdown.py  a card where HTML is not shown
    terminal.py  a card as rich renderables; needs the extra `cli`

Everything a stranger said is shown as text. Nothing here is imported before something is shown.
"""
