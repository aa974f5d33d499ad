"""What every table holds: columns, types, units, meanings. One file per stage; `registry` lists all tables."""
