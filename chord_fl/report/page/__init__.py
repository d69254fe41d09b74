"""The page that compares runs: found and read (`runs`), told apart (`groups`), drawn and written (`render`).

write(paths, page, figures=None) -> Written      see `render`
"""
