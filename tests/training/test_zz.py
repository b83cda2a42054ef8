from tests.training.test_steps import *
def test_rep(base_folder):
    network, bank, optimiser = double_bank(base_folder, PACKED)
    trained(network, bank, optimiser, PACKED, steps=500, workers=3)
