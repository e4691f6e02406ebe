"""Everything that holds a clock: single calls and their noise, the grid, saturation, races."""
