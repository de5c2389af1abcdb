"""What the service does when its providers, its clients or its machine fail, as twelve figures with a target each.

python -m benchmarks.reliability [--only R3,R4] [--quick] [--verbose] [--peer] [--write docs/reliability.md]

`upstream` is a provider whose faults are chosen by the request, in a process of its own; `service` starts the product
as it is deployed; the other modules hold a figure each. `peer` runs those figures against LiteLLM's proxy that make
sense for it, in the same run.
"""
