"""Everything on one machine: starts a log server and the services, watches over them, plays the journey."""
