"""What tools/benchmark.py measures: from the arguments of each of its parts to the figures, with the tables printed.

The measuring itself stands in evaluation/, pipeline/ and classification/; each part imports what it needs, since much
of it loads torch. args.peers: the environment with OpenCV's contrib modules, which `make peers` makes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from spp_det.tooling import console, progress


def measure_pooling(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the table of `pooling`."""
    from spp_det.evaluation.pooling_speed import pooling_table, time_pooling

    prepare()
    result = time_pooling(num_windows=args.windows, channels=args.channels, repeats=args.repeats)
    console.print(pooling_table(result))
    return result


def measure_proposals(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the tables of `proposals`."""
    from spp_det.datasets import VOCDataset, spread
    from spp_det.evaluation.peers import OpenCVPeer
    from spp_det.evaluation.proposal_speed import compare_proposals, coverage_table, recall_curves, speed_table
    from spp_det.evaluation.recall_curve import plot_recall
    from spp_det.parallel import available_cores

    dataset = VOCDataset(args.data, split=args.split)
    ids = spread(dataset.ids, args.images)
    with OpenCVPeer(args.peers) as peer:
        with progress("selective search") as show:
            comparison = compare_proposals(dataset, ids, peer, args.mode, available_cores(), show)
        console.print(speed_table(comparison.figures))
        console.print(coverage_table(comparison.figures))
        if not args.plot:
            return comparison.figures
        with progress("the other modes") as show:
            curves = recall_curves(dataset, comparison, peer, available_cores(), show)
    objects = comparison.figures["quality"]["spp_det"]["objects"]
    plot_recall(curves, f"{len(ids)} images of VOC2007 {args.split}, {objects} objects", args.plot)
    return comparison.figures | {"curves": curves}


def measure_export(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the table of `export`."""
    from spp_det.datasets import VOCDataset, spread
    from spp_det.evaluation.export_speed import compare_exports, export_table, start_table, write_untrained

    prepare()
    dataset = VOCDataset(args.data, split="test")
    images = [(image_id, dataset.image(image_id)) for image_id in spread(dataset.ids, args.images)]
    with tempfile.TemporaryDirectory() as name, progress("timing") as show:
        folder = Path(name)
        untrained = {} if args.run else write_untrained(folder, args.trunk, args.weights, args.scale)
        result = compare_exports(untrained or {args.run.name: args.run}, folder, images, args.windows, progress=show)
    console.print(export_table(result))
    console.print(start_table(result))
    return result


def measure_scaling(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the table of `proposals-scaling`."""
    from spp_det.datasets import VOCDataset, spread
    from spp_det.evaluation import proposal_scaling

    dataset = VOCDataset(args.data, split="test")
    images = [dataset.image(image_id) for image_id in spread(dataset.ids, max(proposal_scaling.FACTORS) ** 2)]
    with progress("selective search") as show:
        result = proposal_scaling.measure_scaling(images, args.mode, repeats=args.repeats, progress=show)
    console.print(proposal_scaling.scaling_table(result))
    if args.plot:
        proposal_scaling.plot_scaling(result, args.plot)
    return result


def measure_proposal_stages(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the table of `proposals-stages`."""
    from spp_det.datasets import VOCDataset, spread
    from spp_det.evaluation.proposal_stages import measure_stages, stages_table

    dataset = VOCDataset(args.data, split="test")
    images = [dataset.image(image_id) for image_id in spread(dataset.ids, args.images)]
    with progress("selective search") as show:
        milliseconds = measure_stages(images, args.mode, show)
    console.print(stages_table(milliseconds, len(images), args.mode))
    return {"ms": milliseconds, "images": len(images), "mode": args.mode}


def measure_detect(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the table of `detect`."""
    from spp_det.datasets import VOCDataset, spread
    from spp_det.evaluation import detect_speed as speed
    from spp_det.evaluation.peers import OpenCVPeer
    from spp_det.evaluation.timing import thread_limit

    prepare()
    dataset = VOCDataset(args.data, split="test")
    images = [(image_id, dataset.image(image_id)) for image_id in spread(dataset.ids, args.images)]
    setup: dict[str, Any] = {}
    if args.run:
        detectors = speed.trained_detectors(args.run, args.compressed)
        setup |= {"run": str(args.run), "compressed": str(args.compressed)}
    else:
        width = None if args.width is None else tuple(args.width)
        untrained = speed.Untrained(args.trunk, args.weights, tuple(args.scales), tuple(args.rank), args.keep, width)
        detectors = untrained.detectors()
        setup |= {"trunk": args.trunk, "scales": args.scales, "ranks": args.rank, "keep": args.keep, "width": width}
    clock = time.process_time if args.shared else time.perf_counter
    with ExitStack() as stack:
        peer = stack.enter_context(OpenCVPeer(args.peers)) if args.against else None
        show = stack.enter_context(progress("timing"))
        threads = stack.enter_context(thread_limit(1 if args.shared else None))
        searched = (lambda image: peer.selective_search(image, "fast", threads)[1]) if peer else None
        result = speed.compare(images, detectors, args.windows, show, clock, searched, args.rcnn_images, args.tried)
    if args.run:
        speed.with_maps(result, args.run, args.compressed)
    console.print(speed.comparison_table(result))
    chosen = result["rcnn"]
    console.print(
        f"SPP-net ({result['best']}) is {result['speedup']:.1f}x faster than R-CNN ({chosen['precision']}, "
        f"{chosen['memory_format']}, batches of {chosen['batch_size']}) without proposals, "
        f"{result['speedup_with_proposals']:.1f}x with ours on both sides",
        soft_wrap=True,
    )
    return setup | result


def measure_faster_rcnn(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the table of `faster-rcnn`."""
    from spp_det.datasets import VOC_CLASSES, VOCDataset, spread
    from spp_det.evaluation import faster_rcnn_peer as peer
    from spp_det.evaluation.detect_speed import DTYPES, Untrained, in_precision
    from spp_det.parts import make_trunk

    prepare()
    dataset = VOCDataset(args.data, split="test")
    images = [dataset.image(image_id) for image_id in spread(dataset.ids, args.images)]
    untrained = Untrained(args.trunk, scales=(args.scale,))
    dense, compressed, _ = untrained.detectors()
    ours = {
        f"spp_det, {kind}, {name}": in_precision(detector, dtype).detect
        for kind, detector in (("dense", dense), ("compressed", compressed))
        for name, dtype in DTYPES.items()
    }
    model = peer.faster_rcnn(make_trunk(untrained.config("spp")), args.scale, len(VOC_CLASSES))
    with progress("detecting") as show:
        seconds = peer.time_whole(images, ours | peer.faster_rcnn_sides(model), show)
    console.print(peer.whole_table(seconds, len(images)))
    return {"seconds": seconds, "trunk": args.trunk, "scale": args.scale, "images": len(images)}


def measure_gpu(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the table of `gpu`."""
    from spp_det.datasets import VOCDataset, spread
    from spp_det.evaluation import gpu_speed
    from spp_det.evaluation.detect_speed import Untrained

    prepare()
    dataset = VOCDataset(args.data, split="test")
    images = [(image_id, dataset.image(image_id)) for image_id in spread(dataset.ids, args.images)]
    untrained, sides = Untrained(args.trunk, scales=tuple(args.scales)), {}
    for precision in gpu_speed.PRECISIONS:
        detector = gpu_speed.gpu_detector(untrained, precision, args.device)
        sides[precision] = gpu_speed.time_on_device(detector, images, args.windows)
    console.print(gpu_speed.gpu_table(sides))
    pixels = [image for _, image in images]
    with progress("detecting") as show:
        rate = gpu_speed.images_a_second(detector, pixels, args.many, args.workers, show)
    console.print(f"{rate:.1f} images a second with proposals by {args.workers} processes")
    return {"trunk": args.trunk, "scales": args.scales, "precisions": sides, "images_a_second": rate}


def measure_views(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the table of `views`."""
    from spp_det.classification import view_speed
    from spp_det.datasets import VOCDataset, spread
    from spp_det.evaluation.timing import thread_limit
    from spp_det.networks.precision import product_type

    prepare()
    dataset = VOCDataset(args.data, split="test")
    images = [dataset.image(image_id) for image_id in spread(dataset.ids, args.images)]
    clock = time.process_time if args.shared else time.perf_counter
    with progress("timing") as show, thread_limit(1 if args.shared else None):
        network = view_speed.untrained(args.trunk)
        dtype = product_type(args.precision, network.device)
        result = view_speed.time_views(network, images, args.repeats, show, clock, dtype)
    console.print(view_speed.views_table(result))
    console.print(view_speed.views_line(result), soft_wrap=True)
    return {"trunk": args.trunk, "precision": args.precision, **result}


def measure_adding(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the table of `add-class`."""
    from spp_det import Detector
    from spp_det.evaluation.class_speed import adding_table, class_precision, time_adding
    from spp_det.parts import make_svm_settings
    from spp_det.pipeline.classes import data_set, draw_background, find_examples

    prepare()
    detector = Detector.load(args.run)
    assert detector.config is not None
    precision: dict[str, float] = {}

    def test(what: str) -> None:
        if args.test:
            with progress(f"testing, {what}") as show:
                tested = data_set(Path(args.data), "test", args.name)
                precision[what] = class_precision(detector, tested, args.name, args.test, show)
            console.print(f"AP of {args.name}, {what}: {100 * precision[what]:.1f}")

    if args.name in detector.class_names:
        test("trained with the others")
        detector.remove_class(args.name)
    examples = find_examples(data_set(Path(args.data), args.split, args.name), args.name, args.images)
    settings, background = make_svm_settings(detector.config), draw_background(args.run, detector)
    result = time_adding(detector, args.name, examples.images, examples.boxes, settings, background)
    console.print(adding_table(result))
    console.print(f"the weights of the other classes are {'the same' if result['others_unchanged'] else 'CHANGED'}")
    test("added")
    return result | {"run": str(args.run), "class": args.name, "ap": precision}


def measure_race(args: argparse.Namespace) -> dict[str, Any]:
    """The points, the table and the plot of `time-to-detector`."""
    from spp_det.pipeline.time_to_detector import measure, open_sets
    from spp_det.report.time_to_detector import plot_points, points_table, verdict_line, verdicts

    prepare()
    sets = open_sets(Path(args.data), args.name, args.images, args.test)
    setup = {"class": args.name, "test_images": len(next(iter(sets.values()))[1])}
    folder = args.json.with_suffix("")
    result = measure(args.json, setup, sets, folder, minutes=args.minutes, only=args.only)
    points = [point for point in result["points"] if point["images"] in args.images]
    console.print(points_table(points))
    for verdict in verdicts(points):
        console.print(verdict_line(verdict), soft_wrap=True)
    if args.plot and points:
        title = f"one class ({args.name}), {setup['test_images']} test images, {result['machine']['threads']} cores"
        plot_points(points, title, args.plot)
    return result


def measure_store_scale(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the table of `store`."""
    from spp_det.pipeline.store_scale import measure_store, store_table

    result = measure_store(args.work, args.images)
    console.print(store_table(result))
    return result


def prepare() -> None:
    """All cores, and memory that is not given back."""
    import torch

    from spp_det.memory import keep_memory
    from spp_det.parallel import available_cores

    torch.set_num_threads(available_cores())
    keep_memory()
