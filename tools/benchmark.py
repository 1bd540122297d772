#!/usr/bin/env python
"""Speed of parts and of the whole, beside what they are measured against.

python tools/benchmark.py pooling [--windows 2000] [--json FILE]
python tools/benchmark.py proposals --data data/VOCdevkit --images 100 --against opencv [--plot FILE] [--json FILE]
python tools/benchmark.py proposals-stages --data data/VOCdevkit [--json FILE]
python tools/benchmark.py proposals-scaling --data data/VOCdevkit [--plot FILE] [--json FILE]
python tools/benchmark.py faster-rcnn --data data/VOCdevkit [--json FILE]
python tools/benchmark.py views --trunk zf5_table1 --data data/VOCdevkit [--json FILE]
python tools/benchmark.py detect --trunk alexnet --windows 2000 --data data/VOCdevkit [--json FILE]
python tools/benchmark.py export --data data/VOCdevkit [--run runs/voc07_lite0] [--json FILE]
python tools/benchmark.py gpu --data data/VOCdevkit [--scales 480 576 688 864 1200] [--workers 16] [--json FILE]
python tools/benchmark.py add-class --run runs/voc07_lite0 --name dog --data data/VOCdevkit --images 20 [--json FILE]
python tools/benchmark.py time-to-detector --data data/VOCdevkit --class cat --images 50 200 --json FILE [--plot FILE]
python tools/benchmark.py store --images 100000 --work FOLDER [--json FILE]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from spp_det.files import write_json
from spp_det.tooling import console, progress, run_tool

PEERS = Path(__file__).resolve().parent.parent / ".venv-peers"  # what `make peers` makes


def main(argv: list[str] | None) -> int:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)

    pooling = parts.add_parser("pooling", help="pool_windows beside a memory copy and torchvision's roi_pool")
    pooling.add_argument("--channels", type=int, default=256, help="channels of the map (256)")
    pooling.add_argument("--repeats", type=int, default=15, help="the median of so many (15)")
    pooling.set_defaults(measure=measure_pooling)

    proposals = parts.add_parser("proposals", help="selective search beside OpenCV's: time, windows, recall")
    proposals.add_argument("--split", default="test", help="a split of VOC2007 (test)")
    proposals.add_argument("--images", type=int, default=100, help="so many of its images, evenly spread (100)")
    proposals.add_argument("--against", choices=("opencv",), default="opencv", help="whom to measure against (opencv)")
    proposals.add_argument("--plot", type=Path, help="draw recall against windows, all modes, into this file")
    proposals.set_defaults(measure=measure_proposals)

    scaling = parts.add_parser("proposals-scaling", help="selective search on images of up to 4000 x 3000 pixels")
    scaling.add_argument("--repeats", type=int, default=3, help="the median of so many images of each size (3)")
    scaling.add_argument("--plot", type=Path, help="draw seconds against pixels into this file")
    scaling.set_defaults(measure=measure_scaling)

    stages = parts.add_parser("proposals-stages", help="where selective search spends its time")
    stages.add_argument("--images", type=int, default=30, help="so many test images, evenly spread (30)")
    stages.set_defaults(measure=measure_proposal_stages)

    detect = parts.add_parser("detect", help="SPP-net beside R-CNN, stage by stage, same trunk, windows and threads")
    detect.add_argument("--data", required=True, help="a VOCdevkit folder")
    detect.add_argument("--trunk", default="alexnet", help="a trunk of the package (alexnet)")
    detect.add_argument("--weights", default="random", help="its weights; the time does not depend on them (random)")
    detect.add_argument("--scales", type=int, nargs="+", default=[688], help="short sides of the image, px (688)")
    detect.add_argument("--images", type=int, default=5, help="the median over so many test images (5)")
    detect.add_argument("--rank", type=int, nargs=2, default=[256, 128], help="of fc6 and fc7, compressed (256 128)")
    detect.add_argument("--keep", type=float, default=0.2, help="windows that the first look keeps (0.2)")
    detect.add_argument(
        "--against", choices=("opencv",), help="whose proposals R-CNN has in one more line of the table"
    )
    detect.add_argument("--run", type=Path, help="a trained run, in place of untrained layers")
    detect.add_argument("--compressed", type=Path, help="the run that tools/compress.py made of --run")
    detect.add_argument("--rcnn-images", type=int, help="time R-CNN on so many of them (all)")
    detect.add_argument("--tried", type=int, default=128, help="choose R-CNN's settings by so many windows (128)")
    detect.add_argument("--shared", action="store_true", help="one thread and its processor time: for a busy machine")
    detect.set_defaults(measure=measure_detect)

    faster = parts.add_parser("faster-rcnn", help="the whole of detect beside torchvision's Faster R-CNN, same trunk")
    faster.add_argument("--trunk", default="efficientnet_lite0", help="a trunk of the package (efficientnet_lite0)")
    faster.add_argument("--scale", type=int, default=600, help="short side of the image, px (600)")
    faster.add_argument("--images", type=int, default=15, help="the median over so many test images (15)")
    faster.set_defaults(measure=measure_faster_rcnn)

    views = parts.add_parser("views", help="98 views of a classifier pooled from maps, beside 98 crops")
    views.add_argument("--trunk", default="zf5_table1", help="a trunk of the package (zf5_table1)")
    views.add_argument("--images", type=int, default=3, help="the median over so many test images (3)")
    views.add_argument("--repeats", type=int, default=1, help="runs over each image (1)")
    views.add_argument("--shared", action="store_true", help="one thread and its processor time: for a busy machine")
    views.set_defaults(measure=measure_views)

    exported = parts.add_parser("export", help="an exported detector by onnxruntime, beside the one of torch")
    exported.add_argument("--run", type=Path, help="a trained run, in place of untrained layers, dense and compressed")
    exported.add_argument("--trunk", default="efficientnet_lite0", help="else a trunk (efficientnet_lite0)")
    exported.add_argument("--weights", default="default", help="and its weights (default)")
    exported.add_argument("--scale", type=int, default=600, help="and the short side of the image, px (600)")
    exported.add_argument("--images", type=int, default=5, help="the median over so many test images (5)")
    exported.set_defaults(measure=measure_export)

    gpu = parts.add_parser("gpu", help="detect on a GPU: stages beside their floor, images a second with proposals")
    gpu.add_argument("--trunk", default="alexnet", help="a trunk of the package (alexnet)")
    gpu.add_argument("--scales", type=int, nargs="+", default=[688], help="short sides of the image, px (688)")
    gpu.add_argument("--images", type=int, default=5, help="the median over so many test images (5)")
    gpu.add_argument("--workers", type=int, default=16, help="processes that make proposals (16)")
    gpu.add_argument("--many", type=int, default=500, help="images that are timed with proposals (500)")
    gpu.add_argument("--device", default="cuda", help="cuda or cuda:N (cuda)")
    gpu.set_defaults(measure=measure_gpu)

    adding = parts.add_parser("add-class", help="one more class for a trained run, from a few images")
    adding.add_argument("--run", type=Path, required=True, help="a trained run; it stays as it is")
    adding.add_argument("--name", required=True, help="the class; where the run knows it, it is removed first")
    adding.add_argument("--data", required=True, help="a data set with images of the class")
    adding.add_argument("--split", default="trainval", help="which of its images (trainval)")
    adding.add_argument("--images", type=int, default=20, help="so many of them (20)")
    adding.add_argument("--test", type=int, default=0, help="take the AP on so many test images, before and after (0)")
    adding.set_defaults(measure=measure_adding)

    race = parts.add_parser("time-to-detector", help="AP against time on a small set, beside Faster R-CNN, same trunk")
    race.add_argument("--data", required=True, help="a data set, with images to test on")
    race.add_argument("--class", dest="name", required=True, help="the class to learn")
    race.add_argument("--images", type=int, nargs="+", default=[50], help="so many images of it to learn from (50)")
    race.add_argument("--test", type=int, default=200, help="so many images to test on, half of them with it (200)")
    race.add_argument("--only", nargs="+", default=[], metavar="NAME", help="some of the settings, by name (all)")
    race.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing more after so many (no end)")
    race.add_argument("--plot", type=Path, help="draw AP against time into this file")
    race.set_defaults(measure=measure_race)

    store = parts.add_parser("store", help="a start, and spp-det status, with a large data set in the store")
    store.add_argument("--images", type=int, default=100_000, help="so many small ones are made (100000)")
    store.add_argument("--work", type=Path, required=True, help="the folder of images and store, some 2 GB; it stays")
    store.set_defaults(measure=measure_store_scale)

    for part in (pooling, detect, exported, gpu):
        part.add_argument("--windows", type=int, default=2000, help="windows of an image (2000)")
    for part in (proposals, scaling, stages, faster, views, exported, gpu):
        part.add_argument("--data", required=True, help="a VOCdevkit folder")
    for part in (proposals, scaling, stages):
        part.add_argument(
            "--mode", choices=("fast", "released", "quality"), default="fast", help="of selective search (fast)"
        )
    for part in (pooling, proposals, scaling, stages, detect, faster, views, adding, exported, gpu, store):
        part.add_argument("--json", type=Path, help="write the figures to this file")
    race.add_argument("--json", type=Path, required=True, help="the points; what it has is not measured again")
    args = parser.parse_args(argv)
    if args.part == "detect" and (args.run is None) != (args.compressed is None):
        parser.error("--run and --compressed go together")

    result = args.measure(args)
    if args.json:
        write_json(args.json, result)
    return 0


def measure_pooling(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the table of `pooling`."""
    from spp_det.evaluation.pooling_speed import pooling_table, time_pooling

    prepare()
    result = time_pooling(num_windows=args.windows, channels=args.channels, repeats=args.repeats)
    console.print(pooling_table(result))
    return result


def measure_proposals(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the tables of `proposals`."""
    from spp_det.datasets import VOCDataset
    from spp_det.evaluation.peers import OpenCVPeer
    from spp_det.evaluation.proposal_speed import compare_proposals, coverage_table, recall_curves, speed_table
    from spp_det.evaluation.recall_curve import plot_recall
    from spp_det.parallel import available_cores
    from spp_det.parts import spread

    dataset = VOCDataset(args.data, split=args.split)
    ids = spread(dataset.ids, args.images)
    with OpenCVPeer(PEERS) as peer:
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
    from spp_det.datasets import VOCDataset
    from spp_det.evaluation.export_speed import compare_exports, export_table, start_table, write_untrained
    from spp_det.parts import spread

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
    from spp_det.datasets import VOCDataset
    from spp_det.evaluation import proposal_scaling
    from spp_det.parts import spread

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
    from spp_det.datasets import VOCDataset
    from spp_det.evaluation.proposal_stages import measure_stages, stages_table
    from spp_det.parts import spread

    dataset = VOCDataset(args.data, split="test")
    images = [dataset.image(image_id) for image_id in spread(dataset.ids, args.images)]
    with progress("selective search") as show:
        milliseconds = measure_stages(images, args.mode, show)
    console.print(stages_table(milliseconds, len(images), args.mode))
    return {"ms": milliseconds, "images": len(images), "mode": args.mode}


def measure_detect(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the table of `detect`."""
    from spp_det.datasets import VOCDataset
    from spp_det.evaluation import detect_speed as speed
    from spp_det.evaluation.peers import OpenCVPeer
    from spp_det.evaluation.timing import thread_limit
    from spp_det.parts import spread

    prepare()
    dataset = VOCDataset(args.data, split="test")
    images = [(image_id, dataset.image(image_id)) for image_id in spread(dataset.ids, args.images)]
    setup: dict[str, Any] = {}
    if args.run:
        detectors = speed.trained_detectors(args.run, args.compressed)
        setup |= {"run": str(args.run), "compressed": str(args.compressed)}
    else:
        untrained = speed.Untrained(args.trunk, args.weights, tuple(args.scales), tuple(args.rank), args.keep)
        detectors = untrained.detectors()
        setup |= {"trunk": args.trunk, "scales": args.scales, "ranks": args.rank, "keep": args.keep}
    clock = time.process_time if args.shared else time.perf_counter
    with ExitStack() as stack:
        peer = stack.enter_context(OpenCVPeer(PEERS)) if args.against else None
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
    from spp_det.datasets import VOC_CLASSES, VOCDataset
    from spp_det.evaluation import faster_rcnn_peer as peer
    from spp_det.evaluation.detect_speed import DTYPES, Untrained, in_precision
    from spp_det.parts import make_trunk, spread

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
    from spp_det.datasets import VOCDataset
    from spp_det.evaluation import gpu_speed
    from spp_det.evaluation.detect_speed import Untrained
    from spp_det.parts import spread

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
    from spp_det.datasets import VOCDataset
    from spp_det.evaluation.timing import thread_limit
    from spp_det.parts import spread

    prepare()
    dataset = VOCDataset(args.data, split="test")
    images = [dataset.image(image_id) for image_id in spread(dataset.ids, args.images)]
    clock = time.process_time if args.shared else time.perf_counter
    with progress("timing") as show, thread_limit(1 if args.shared else None):
        result = view_speed.time_views(view_speed.untrained(args.trunk), images, args.repeats, show, clock)
    console.print(view_speed.views_table(result))
    console.print(view_speed.views_line(result), soft_wrap=True)
    return {"trunk": args.trunk, **result}


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


if __name__ == "__main__":
    run_tool(main)
