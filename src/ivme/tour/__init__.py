"""The tour: one story through the whole software, on texts that everyone has.

Each chapter is a function: settings and a folder in, what it found out, with the record that the
report is made of. Who tells the story, and in what order, is not known here.
"""
