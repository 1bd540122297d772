"""What a large data set costs on many GPUs: seconds and bytes of each stage, by arithmetic and by simulation.

The arithmetic bounds a stage by each thing that it needs: cores, GPUs, the shared disk. The simulation lets workers
take images from one queue, wait for the disk, whose requests stand in line, and compute; it shows what the bounds leave
out: the unequal end, the queue itself, and images that are dearer than others.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from math import ceil

import numpy as np

QUEUE_SECONDS = 2e-4  # of one request to torchrun's store, which answers one after the other


@dataclass(frozen=True)
class Cluster:
    """gpus in all, `machine` of them in one machine, each with `cores`; disk: bytes a second of the shared store, all
    readers and writers together; network: bytes a second between machines, each way.
    """

    gpus: int
    machine: int = 8
    cores: int = 16
    disk: float = 2e9
    network: float = 25e9

    @property
    def machines(self) -> int:
        """How many machines."""
        return ceil(self.gpus / self.machine)


@dataclass(frozen=True)
class Stage:
    """One stage over a data set.

    items: images, or iterations; workers: processes, each of which does one item at a time; seconds: of an item, for
    its worker; read, written: bytes of an item that go over the disk; kept: whether what is written stays; scarce: what
    the workers' seconds are spent on.
    """

    name: str
    items: int
    workers: int
    seconds: float
    read: float
    written: float
    kept: bool
    scarce: str

    @property
    def moved(self) -> float:
        """Bytes that go over the disk in all."""
        return self.items * (self.read + self.written)

    @property
    def stored(self) -> float:
        """Bytes that lie in the store afterwards."""
        return self.items * self.written if self.kept else 0.0


def bounds(stage: Stage, cluster: Cluster) -> dict[str, float]:
    """The least seconds of a stage, by the work over those who share it, and by the disk."""
    return {stage.scarce: stage.items * stage.seconds / stage.workers, "disk": stage.moved / cluster.disk}


def bottleneck(stage: Stage, cluster: Cluster) -> str:
    """What a stage waits for."""
    least = bounds(stage, cluster)
    return max(least, key=lambda name: least[name])


def simulate(stage: Stage, cluster: Cluster, spread: float = 0.3, chunk: int = 1, seed: int = 0) -> float:
    """Seconds until the last worker is done with a stage whose items all come from one queue.

    A worker asks the queue, which answers one at a time, for `chunk` items; reads them, computes and writes. The disk
    serves one request after the other, at its full rate. An item's time is lognormal about its mean, by `spread`, the
    standard deviation of its logarithm.
    """
    times = np.random.default_rng(seed).lognormal(-(spread**2) / 2, spread, stage.items) * stage.seconds
    chunks = np.add.reduceat(times, np.arange(0, stage.items, chunk)).tolist()
    sizes = [min(chunk, stage.items - start) for start in range(0, stage.items, chunk)]
    events = [(0.0, worker, -1) for worker in range(stage.workers)]  # when, who, the chunk it has to write (-1: none)
    queue = disk = end = 0.0
    taken = 0
    while events:
        now, worker, writing = heapq.heappop(events)
        if writing >= 0:
            if stage.written:
                disk = now = max(now, disk) + sizes[writing] * stage.written / cluster.disk
            end = max(end, now)
            heapq.heappush(events, (now, worker, -1))
        elif taken < len(chunks):
            queue = ready = max(now, queue) + QUEUE_SECONDS
            if stage.read:
                disk = ready = max(ready, disk) + sizes[taken] * stage.read / cluster.disk
            heapq.heappush(events, (ready + chunks[taken], worker, taken))
            taken += 1
    return end


@dataclass(frozen=True)
class Rates:
    """What one image costs. The defaults are EfficientNet-Lite0's at 600 px with fc6 and fc7 of 1,024, in bfloat16.

    Seconds of one core, of which a GPU counts as many as `gpu`: proposals; maps; vectors: fc6 and fc7 of all windows;
    mining: a class's SVM, of an image; iteration: of fine-tuning. iterations: of fine-tuning, an image. Bytes: boxes;
    a map; the vectors of an image's windows; gradients.
    """

    gpu: float = 200.0
    proposals: float = 0.090
    maps: float = 0.129
    vectors: float = 0.275
    mining: float = 0.0028
    iteration: float = 0.165
    iterations: float = 2.15
    box_bytes: float = 34e3
    map_bytes: float = 1.18e6
    vector_bytes: float = 8.2e6
    gradient_bytes: float = 70e6


@dataclass(frozen=True)
class DataSet:
    """name; images; classes; image_bytes: of one, on average."""

    name: str
    images: int
    classes: int
    image_bytes: float


def stages(data: DataSet, cluster: Cluster, rates: Rates) -> list[Stage]:
    """A training, and detecting in as many images, shared by processes that torchrun starts.

    Proposals are the cores' and maps the GPUs', so that both go on at once. In fine-tuning all GPUs share each batch,
    read its two maps once a machine, and exchange gradients in a ring. The vectors for the SVMs are computed once and
    read once by each machine, from whose memory its other processes have them; a process mines its classes each on a
    core of its own.
    """
    gpus, machines, images = cluster.gpus, cluster.machines, data.images
    ring = 2 * rates.gradient_bytes * (machines - 1) / machines / cluster.network
    each = ceil(data.classes / min(gpus, data.classes))  # classes of a process
    mining = rates.mining * ceil(each / min(each, cluster.cores))
    see = rates.vectors / rates.gpu
    iterations, lockstep = round(images * rates.iterations), rates.iteration / rates.gpu / gpus
    network = "network" if ring > lockstep else "GPUs"
    image, maps, boxes, vectors = data.image_bytes, rates.map_bytes, rates.box_bytes, rates.vector_bytes
    return [
        Stage("proposals", images, gpus * cluster.cores, rates.proposals, image, boxes, True, "cores"),
        Stage("maps", images, gpus, rates.maps / rates.gpu, image, maps, True, "GPUs"),
        Stage("fine-tuning", iterations, 1, lockstep + ring, 2 * maps * machines, 0.0, False, network),
        Stage("vectors", images, gpus, see, maps + boxes, vectors, False, "GPUs"),
        Stage("SVMs", images, 1, mining, vectors * machines, 0.0, False, "cores"),
        Stage("detect", images, gpus, rates.maps / rates.gpu + see, image + boxes, boxes, True, "GPUs"),
    ]
