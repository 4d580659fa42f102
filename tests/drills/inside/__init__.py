"""What a drill does from within a service's process; Python loads `sitecustomize` from here by itself."""
