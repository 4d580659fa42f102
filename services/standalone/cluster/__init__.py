"""Many on one machine: three log servers, three stores, several processes of each service, and Envoy in front of them."""
