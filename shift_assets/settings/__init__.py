"""What an operator may set. `root` joins the sections; a section is one concern."""
