"""Trees as ONNX: histogram gradient boosting written by hand, and random forests without what says nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper
from sklearn.ensemble import HistGradientBoostingClassifier

from core.calibration_graph import Parts


def add_boosting(parts: Parts, model: HistGradientBoostingClassifier) -> str:
    """`decision_function`: (batch, classes), or (batch, 1) for two.

    skl2onnx 1.20 fails on scikit-learn 1.9's trees (their node numbers are uint32, which onnx 1.23 takes for no
    attribute), and rounds thresholds to the nearest float32, which sends some embeddings down the other branch.
    """
    trees = [tree.nodes for together in model._predictors for tree in together]
    targets = [target for together in model._predictors for target in range(len(together))]
    sizes = [len(tree) for tree in trees]
    node = np.concatenate(trees)
    leaf = node["is_leaf"].astype(bool)
    of_tree = np.repeat(np.arange(len(trees)), sizes)
    number = np.concatenate([np.arange(size) for size in sizes])
    inner = {
        name: np.where(leaf, 0, node[column]).astype(np.int64)
        for name, column in (("featureids", "feature_idx"), ("truenodeids", "left"), ("falsenodeids", "right"))
    }
    parts.nodes.append(
        helper.make_node(
            "TreeEnsembleRegressor",
            ["embeddings"],
            ["boosted"],
            domain="ai.onnx.ml",
            n_targets=model.n_trees_per_iteration_,
            base_values=np.ravel(model._baseline_prediction).astype(np.float32).tolist(),
            nodes_treeids=of_tree.tolist(),
            nodes_nodeids=number.tolist(),
            nodes_modes=["LEAF" if end else "BRANCH_LEQ" for end in leaf],
            nodes_values=no_higher(np.where(leaf, 0.0, node["num_threshold"])).tolist(),
            **{f"nodes_{name}": values.tolist() for name, values in inner.items()},
            target_treeids=of_tree[leaf].tolist(),
            target_nodeids=number[leaf].tolist(),
            target_ids=np.repeat(targets, sizes)[leaf].tolist(),
            target_weights=node["value"][leaf].astype(np.float32).tolist(),
        )
    )
    return "boosted"


def no_higher(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The greatest float32 that is no higher: a float32 score is at most one exactly where it is at most the other."""
    near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near)


def without_needless(node: NodeProto) -> NodeProto:
    """A node of skl2onnx, and of a forest's only what counts: no hit rates (all 1), no way for missing values (none
    come), no weight of 0 where the leaf has another: the same scores from a file a good deal smaller.
    """
    if node.op_type != "TreeEnsembleClassifier":
        return node
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    weights = np.array(values["class_weights"])
    leaves = np.stack([values["class_treeids"], values["class_nodeids"]])
    _, leaf = np.unique(leaves, axis=1, return_inverse=True)
    kept = (weights != 0) | ~np.isin(leaf, leaf[weights != 0])
    for name in ("class_treeids", "class_nodeids", "class_ids", "class_weights"):
        values[name] = np.asarray(values[name])[kept].tolist()
    needless = ("nodes_hitrates", "nodes_missing_value_tracks_true")
    attributes = {name: value for name, value in values.items() if name not in needless}
    return helper.make_node(node.op_type, node.input, node.output, domain=node.domain, **attributes)
