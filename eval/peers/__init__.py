"""Other engines under the same roof: the same vectors, questions, cores and run.

``measure.measure_peers`` exports a workload once, runs every engine in processes of its own
(peers in environments that ``environments`` makes), and compares latency at equal recall.
"""
