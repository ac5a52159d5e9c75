"""Reports: tables, statistics, figures and the page, as pure functions of a tidy frame of results."""
