"""The hardware, in the order of the data's path.

``lowering`` graph to engine layers, ``tiling`` and ``residency`` cut and place them, ``plan`` and ``sync`` make the
program, ``image`` the constants, ``schedule`` predicts its cycles, ``generate`` writes the build folder.
``accelerator`` wires the engine: ``fetch``, ``loader``, ``dma``, ``weights``, ``activations``, ``sequencer``,
``array``, ``accumulators``, ``vector``, ``requantize``, ``storer``.
"""
