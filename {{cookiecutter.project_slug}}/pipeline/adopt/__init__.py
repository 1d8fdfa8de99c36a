"""`make adopt`: from somebody's table to a contract, its policies and daily files, with nothing decided in silence."""
