"""A storm of random plans over real graphs, and the check of the books after each of them.

plan.py      what one example does, and how examples are drawn
covering.py  few examples in which everything occurs
process.py   a process that may die at any step, and what it writes with
world.py     the service, the databases and the files that outlive a process
shapes.py    the graphs
person.py    who answers the questions, and what was said
life.py      one process with a graph: it runs turns until it ends or dies
example.py   one example from its first input to its end
simpler.py   makes a plan that fails smaller
verdict.py   what must be true after it
figures.py   the table at the end
"""
