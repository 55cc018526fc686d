"""The main job on real weights and real data, small enough to run while one watches."""
