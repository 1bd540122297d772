"""torchvision's Faster R-CNN learns the same images over the same trunk, at settings that suit small sets.

Layers of the trunk that stay as they are run once for each image and its mirror image; what they give is kept. So does
spp_det, and a frozen trunk then costs Faster R-CNN as little as it can.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from spp_det.boxes import flip, nonempty
from spp_det.datasets import Dataset
from spp_det.errors import SppDetError
from spp_det.evaluation.faster_rcnn_peer import faster_rcnn, image_tensor
from spp_det.images import flip_image
from spp_det.networks import Trunk
from spp_det.states import read_state, write_state
from spp_det.structures import Detections, Image
from spp_det.training.checkpoint import restore_training, training_arrays

MAX_GRADIENT = 10.0  # the norm of all gradients together is cut to this, without which some settings diverge


@dataclass(frozen=True)
class PeerSettings:
    """How Faster R-CNN is trained.

    frozen: how many of the trunk's layers stay as they are, counted from the image in the order of `trunk.body`; None:
    all. short_side: px of the image. rate: the learning rate of SGD, reached over `warm_up` steps and divided by 10
    after `drop` of all epochs; trunk_rate: that of the trunk's layers over the others'.
    batch_size: images of a step. regions: an image's regions that the box head learns from, 512 by default in
    torchvision. bfloat16: by torch's autocast; boxes and anchors stay float32.
    """

    frozen: int | None = None
    short_side: int = 400
    epochs: int = 20
    rate: float = 0.01
    trunk_rate: float = 0.1
    batch_size: int = 2
    regions: int = 128
    drop: float = 0.75
    warm_up: int = 50
    flip: bool = True
    bfloat16: bool = True
    momentum: float = 0.9
    weight_decay: float = 5e-4
    seed: int = 0

    def rate_at(self, step: int, steps: int) -> float:
        """The learning rate of a step of all, counted from 0."""
        return self.rate * min(1.0, (step + 1) / self.warm_up) * (0.1 if step >= self.drop * steps else 1.0)


class PeerTraining:
    """A Faster R-CNN that learns epoch by epoch.

    trunk: what it stands on, without gradients; a copy of it learns. dataset: the images; difficult objects are left
    out, as our own training leaves them out.

    Attributes:
        epochs_done: so far.
        losses: the mean loss of each epoch.

    """

    def __init__(self, trunk: Trunk, dataset: Dataset, settings: PeerSettings) -> None:
        self.dataset, self.settings = dataset, settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.model = faster_rcnn(trunk, settings.short_side, len(dataset.class_names))
        self.model.roi_heads.fg_bg_sampler.batch_size_per_image = settings.regions
        layers = list(self.model.backbone.body.children())
        kept = len(layers) if settings.frozen is None else settings.frozen
        self.still, self.learning = nn.Sequential(*layers[:kept]), nn.Sequential(*layers[kept:])
        for layer in self.learning.modules():
            if isinstance(layer, nn.Conv2d):  # normalisation stays, as in torchvision's own detectors
                layer.requires_grad_(True)
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        momentum, decay = settings.momentum, settings.weight_decay
        of_trunk = {id(weight) for weight in self.learning.parameters()}
        groups = [[weight for weight in self.weights if (id(weight) in of_trunk) == trunk] for trunk in (False, True)]
        parts = [{"params": group} for group in groups if group]
        self.optimizer = torch.optim.SGD(parts, lr=0.0, momentum=momentum, weight_decay=decay)
        self.epochs_done = 0
        self.losses: list[float] = []
        self._seen: dict[tuple[str, bool], tuple[ImageList, Tensor, dict[str, Tensor]]] = {}

    def look(self) -> None:
        """Run the layers that stay as they are over every image and, where those are learnt from, its mirror image."""
        for image_id in self.dataset.ids:
            for flipped in (False, True) if self.settings.flip else (False,):
                self._seen[image_id, flipped] = self._look_at(image_id, flipped)

    def epoch(self, progress: Callable[[int, int], None]) -> None:
        """Learn from every image once, in an order that follows from the seed and the epoch alone."""
        settings, ids = self.settings, self.dataset.ids
        rng = np.random.default_rng([settings.seed, self.epochs_done])
        batches = math.ceil(len(ids) / settings.batch_size)
        order = rng.permutation(len(ids))
        losses = []
        self.model.train()
        self.model.backbone.eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence([settings.seed, self.epochs_done, 1]).generate_state(1)[0]))
            for number in range(batches):
                batch = order[number * settings.batch_size :][: settings.batch_size]
                rate = settings.rate_at(self.epochs_done * batches + number, settings.epochs * batches)
                for group, factor in zip(self.optimizer.param_groups, (1.0, settings.trunk_rate), strict=False):
                    group["lr"] = rate * factor
                losses.append(self._step([(ids[i], settings.flip and bool(rng.random() < 0.5)) for i in batch]))
                progress(number + 1, batches)
        self.losses.append(float(np.mean(losses)))
        self.epochs_done += 1

    def detect(self, image: Image) -> Detections:
        """What it finds in an image, uint8 [H, W, 3]; boxes without area are dropped."""
        self.model.eval()
        with torch.inference_mode(), self._precision():
            (found,) = self.model([image_tensor(image)])
        boxes = found["boxes"].float().numpy()
        kept = nonempty(boxes)
        scores, labels = found["scores"].float().numpy()[kept], found["labels"].numpy()[kept] - 1
        return Detections(boxes[kept], scores, labels, self.dataset.class_names)

    def save(self, path: Path, more: dict[str, Any]) -> None:
        """Write all that the next epochs need into one file, and `more`, of JSON's types."""
        state = {"settings": asdict(self.settings), "epochs": self.epochs_done, "losses": self.losses, "more": more}
        write_state(path, training_arrays(self.model, self.optimizer), state)

    def resume(self, path: Path) -> dict[str, Any]:
        """Undo `save`, and return its `more`. Raises SppDetError where the file is broken or of other settings."""
        arrays, state = read_state(path, asdict(self.settings))
        restore_training(path, arrays, self.model, self.optimizer)
        self.epochs_done, self.losses = state["epochs"], state["losses"]
        return state["more"]

    def _step(self, batch: list[tuple[str, bool]]) -> float:
        """One step of the optimizer; returns the mean loss of the images."""
        self.optimizer.zero_grad()
        total = 0.0
        for key in batch:  # one after the other: no image is padded to the size of another
            with self._precision():
                loss = self._loss(*self._seen[key])
            (loss / len(batch)).backward()
            total += loss.item()
        if not math.isfinite(total):
            raise SppDetError(f"Faster R-CNN: loss {total} in epoch {self.epochs_done + 1}, rate {self.settings.rate}")
        nn.utils.clip_grad_norm_(self.weights, MAX_GRADIENT)
        self.optimizer.step()
        return total / len(batch)

    def _loss(self, images: ImageList, below: Tensor, target: dict[str, Tensor]) -> Tensor:
        """torchvision's four losses of one image, added: `GeneralizedRCNN.forward` from the kept layers on."""
        features = {"0": self.learning(below).float()}
        proposals, rpn = self.model.rpn(images, features, [target])
        _, heads = self.model.roi_heads(features, proposals, images.image_sizes, [target])
        return torch.stack([*rpn.values(), *heads.values()]).sum()

    @torch.no_grad()
    def _look_at(self, image_id: str, flipped: bool) -> tuple[ImageList, Tensor, dict[str, Tensor]]:
        image, target = self.dataset.image(image_id), self.dataset.target(image_id)
        boxes, labels = target.boxes[~target.difficult], target.labels[~target.difficult] + 1
        if flipped:
            image, boxes = flip_image(image), flip(boxes, image.shape[1])
        known = {"boxes": torch.from_numpy(boxes.copy()), "labels": torch.from_numpy(labels)}
        images, (known,) = self.model.transform([image_tensor(image)], [known])
        with self._precision():
            below = self.still(images.tensors.contiguous(memory_format=torch.channels_last))
        size_alone = torch.zeros(1).expand(images.tensors.shape)  # all that the anchors need
        return ImageList(size_alone, images.image_sizes), below, known

    def _precision(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.settings.bfloat16)
