"""What people see: how soon, how much of the browser it takes, and how many can look on at once."""
