"""Network v2.0, on `/network`: networks, subnets, ports, security groups. Shapes as Neutron gives them."""
