"""Loop IR: nodes, builder, lowering, fusion, buffers."""
