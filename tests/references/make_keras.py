"""Makes the stored reference models of Keras: small ones with every kind of layer, each with an input and its answer.

Run where Keras is installed; the version that is found decides which archive is written::

    python tests/references/make_keras.py            # Keras 2.15 with TensorFlow: keras2.zip
    KERAS_BACKEND=torch python tests/references/make_keras.py      # Keras 3 with PyTorch: keras3.zip

Weights and inputs come from seeded generators of NumPy, so both versions make the same models. An archive holds for
each model ``NAME.h5``, ``NAME.keras``, ``NAME.weights.h5`` with ``NAME.json``, and ``NAME.npz`` with ``x`` and ``y``.
"""

from __future__ import annotations

import io
import math
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
ACTIVATIONS = [
    "relu",
    "elu",
    "selu",
    "gelu",
    "swish",
    "softplus",
    "softsign",
    "tanh",
    "sigmoid",
    "exponential",
    "linear",
]


def version() -> int:
    """Of Keras, its first number."""
    import keras

    return int(keras.__version__.partition(".")[0])


def convolutions(layers: Any) -> tuple[Any, Any]:
    """2D convolutions with every setting, plain, depthwise and separable."""
    given = layers.Input((17, 20, 2))
    x = layers.Conv2D(6, (3, 5), strides=(2, 1), padding="same", use_bias=False)(given)
    x = layers.Conv2D(4, 4, padding="same", groups=2, activation="relu")(x)
    x = layers.Conv2D(4, 3, dilation_rate=2, padding="valid", activation="tanh")(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="elu")(x)
    x = layers.SeparableConv2D(5, 3, padding="same", depth_multiplier=2, activation="softplus")(x)
    return given, layers.Conv2D(3, 1, activation="softmax")(x)


def transposed(layers: Any) -> tuple[Any, Any]:
    """2D transposed convolutions whose kernels are smaller than, equal to and larger than their strides."""
    given = layers.Input((6, 5, 1))
    parts = [layers.Conv2DTranspose(2, kernel, strides=2, padding="same")(given) for kernel in (1, 2, 3, 4, 5)]
    x = layers.Concatenate()(parts)
    x = layers.Conv2DTranspose(3, (2, 4), strides=(3, 2), padding="valid", use_bias=False)(x)
    x = layers.Conv2DTranspose(2, 3, padding="same", activation="relu")(x)
    return given, x


def resampling(layers: Any) -> tuple[Any, Any]:
    """2D pooling and upsampling, padding and cropping."""
    given = layers.Input((15, 18, 2))
    fine = [layers.MaxPooling2D(2, padding="same")(given), layers.AveragePooling2D(2, padding="same")(given)]
    fine.append(layers.MaxPooling2D((3, 3), strides=(2, 2), padding="same")(given))
    fine.append(layers.AveragePooling2D((3, 2), strides=2, padding="same")(given))
    x = layers.Concatenate()(fine)
    x = layers.ZeroPadding2D(((1, 2), (0, 3)))(x)
    x = layers.AveragePooling2D(3, strides=1, padding="valid")(x)
    x = layers.MaxPooling2D((2, 1), padding="valid")(x)
    x = layers.UpSampling2D((3, 2), interpolation="nearest")(x)
    x = layers.Cropping2D(((0, 1), (2, 3)))(x)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    return given, layers.Conv2D(2, 1)(layers.ZeroPadding2D(1)(x))


def norms_and_joins(layers: Any) -> tuple[Any, Any]:
    """Normalisations, joins, and layers that do nothing when a model is applied."""
    given = layers.Input((8, 9, 4))
    a = layers.BatchNormalization(epsilon=0.01)(given)
    b = layers.BatchNormalization(scale=False)(given)
    c = layers.BatchNormalization(center=False)(layers.Dropout(0.3)(given))
    d = layers.GroupNormalization(2)(layers.SpatialDropout2D(0.3)(given))
    e = layers.GroupNormalization(-1, scale=False)(layers.GaussianNoise(0.3)(given))
    f = layers.Rescaling(0.5, offset=-1.0)(layers.GaussianDropout(0.3)(given))
    x = layers.Concatenate()([layers.Add()([a, b, c]), layers.Multiply()([d, e]), layers.Average()([a, f])])
    x = layers.Concatenate()([x, layers.Maximum()([b, d, f]), layers.ActivityRegularization(0.1)(given)])
    return given, layers.Activation("sigmoid")(layers.Conv2D(1, 3, padding="same")(x))


def activations(layers: Any) -> tuple[Any, Any]:
    """Each activation as a layer and within one."""
    given = layers.Input((6, 7, 1))
    x = layers.Conv2D(4, 3, padding="same")(given)
    parts = [layers.Activation(name)(x) for name in ACTIVATIONS]
    parts += [layers.Conv2D(1, 1, activation=name)(x) for name in ACTIVATIONS]
    parts += [layers.LeakyReLU(0.2)(x), layers.ReLU()(x), layers.ReLU(negative_slope=0.1)(x), layers.ELU()(x)]
    parts += [layers.PReLU(shared_axes=[1, 2])(x), layers.Softmax()(x)]
    parts.append(layers.Conv2D(2, 1, activation=layers.LeakyReLU(0.1))(x))
    if version() > 2:  # earlier ones lack relu6, and have another hard_sigmoid
        parts += [layers.Activation(name)(x) for name in ("relu6", "hard_sigmoid")]
    return given, layers.Conv2D(2, 1)(layers.Concatenate()(parts))


def volume(layers: Any) -> tuple[Any, Any]:
    """The layers of 3D networks."""
    given = layers.Input((9, 8, 6, 1))
    x = layers.Conv3D(4, (3, 3, 1), padding="same", activation="relu")(given)
    x = layers.BatchNormalization()(x)
    x = layers.Conv3D(4, (1, 2, 3), dilation_rate=(1, 1, 2), padding="same")(x)
    x = layers.PReLU(shared_axes=[1, 2, 3])(layers.SpatialDropout3D(0.2)(x))
    low = layers.Conv3D(6, 3, strides=(2, 2, 1), padding="same", groups=2)(x)
    low = layers.Concatenate()([layers.MaxPooling3D((2, 2, 1))(low), layers.AveragePooling3D((2, 2, 1))(low)])
    low = layers.Conv3DTranspose(4, (2, 3, 1), strides=(2, 2, 1), padding="same")(low)
    low = layers.UpSampling3D((2, 2, 1))(low)
    low = layers.ZeroPadding3D(((1, 1), (0, 1), (1, 0)))(low)
    low = layers.Cropping3D(((0, 1), (1, 0), (0, 1)))(low)
    return given, layers.Conv3D(2, 1, activation="softmax")(layers.Add()([x, low]))


def nested(layers: Any) -> tuple[Any, Any]:
    """Models as layers of models, two deep, one of them with two inputs."""
    import keras

    def block(width: int, name: str) -> Any:
        parts = [layers.Conv2D(width, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()]
        return keras.Sequential(parts, name=name)

    inner = layers.Input((12, 10, 4))
    half = keras.Model(inner, layers.Add()([block(4, "residual")(inner), inner]), name="inner")
    one, two = layers.Input((12, 10, 4)), layers.Input((12, 10, 2))
    joined = layers.Concatenate()([half(one), two])
    outer = keras.Model([one, two], layers.BatchNormalization(name="last")(joined), name="outer")
    given = layers.Input((12, 10, 2))
    x = block(4, "stem")(given)
    return given, layers.Conv2D(2, 1, activation="sigmoid")(block(3, "end")(outer([x, given])))


def chain(layers: Any) -> tuple[Any, Any]:
    """A network that is a chain of layers; :func:`build` makes a ``Sequential`` of it."""
    parts = [layers.Conv2D(3, 3, padding="same"), layers.ReLU(), layers.MaxPooling2D(2), layers.Conv2D(2, 3)]
    return (10, 12, 1), [*parts, layers.Activation("softmax")]


def small_unet(layers: Any) -> tuple[Any, Any]:
    """The plan of Ais's UNet with a sixteenth of its channels."""
    given = layers.Input((32, 32, 1))
    a = layers.Conv2D(4, 3, padding="same", activation="relu")(given)
    b = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D(2)(a))
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.MaxPooling2D(2)(b))
    for skip, width in ((b, 8), (a, 4)):
        x = layers.Concatenate()([layers.UpSampling2D(2)(x), skip])
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    return given, layers.Conv2D(1, 1, activation="sigmoid")(x)


def small_pix2pix(layers: Any) -> tuple[Any, Any]:
    """The plan of Ais's Pix2pix generator with three levels and few channels."""
    given = layers.Input((32, 32, 3))
    skips, x = [], given
    for number, width in enumerate((4, 6, 8)):
        x = layers.LeakyReLU(0.2)(layers.Conv2D(width, 4, strides=2, padding="same")(x))
        x = layers.BatchNormalization(momentum=0.8)(x) if number else x
        skips.append(x)
    for skip in (skips[1], skips[0]):
        x = layers.UpSampling2D(2)(x)
        x = layers.Conv2D(6, 4, padding="same", activation="relu")(x)
        x = layers.Concatenate()([layers.BatchNormalization(momentum=0.8)(x), skip])
    x = layers.Conv2D(1, 4, padding="same", activation="sigmoid")(layers.UpSampling2D(2)(x))
    return given, x


def small_easymode(layers: Any) -> tuple[Any, Any]:
    """The plan of easymode's wide 3D network with two levels and few channels."""
    given = layers.Input((16, 16, 4, 1))
    a = given
    for _ in range(2):
        a = layers.BatchNormalization()(layers.Conv3D(4, 3, padding="same", activation="relu")(a))
    x = layers.MaxPooling3D((2, 2, 1))(a)
    for kernel in ((3, 3, 1), (1, 1, 3), (3, 3, 1)):
        x = layers.BatchNormalization()(layers.Conv3D(6, kernel, padding="same", activation="relu")(x))
    x = layers.Conv3DTranspose(4, (2, 2, 1), strides=(2, 2, 1), padding="same")(x)
    x = layers.Conv3D(4, 3, padding="same", activation="relu")(layers.Concatenate()([x, a]))
    return given, layers.Conv3D(1, 1, activation="sigmoid")(x)


MODELS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    function.__name__: function
    for function in (
        convolutions,
        transposed,
        resampling,
        norms_and_joins,
        activations,
        volume,
        nested,
        chain,
        small_unet,
        small_pix2pix,
        small_easymode,
    )
}


def build(name: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """A model with its seeded weights, its input and its own answer, channels last."""
    import keras

    keras.backend.clear_session()
    given, answer = MODELS[name](keras.layers)
    if isinstance(answer, list):
        model = keras.Sequential([keras.layers.Input(given), *answer])
    else:
        model = keras.Model(given, answer)
    draw = np.random.default_rng(sum(name.encode()))
    for layer in leaves(model):
        weights = layer.get_weights()
        if "BatchNormalization" in type(layer).__name__:
            new = [draw.uniform(0.5, 1.5, w.shape) for w in weights]
        else:
            new = [draw.normal(0, 1 / math.sqrt(max(1, np.prod(w.shape[:-1]))), w.shape) for w in weights]
        layer.set_weights([w.astype(np.float32) for w in new])
    x = draw.normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    y = model(x)
    y = y.detach().cpu() if hasattr(y, "detach") else y
    return model, x, np.asarray(y)


def leaves(model: Any) -> Iterator[Any]:
    """The layers of a model and of the models in it, in their order."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from leaves(layer)
        else:
            yield layer


def files(name: str, folder: Path) -> dict[str, bytes]:
    """A model in every format, with its input and answer; the folder is for the files on their way."""
    model, x, y = build(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the older formats
        for ending in ("h5", "keras"):
            model.save(folder / f"{name}.{ending}")
        model.save_weights(folder / f"{name}.weights.h5")
    (folder / f"{name}.json").write_text(model.to_json())
    stream = io.BytesIO()
    np.savez(stream, x=x, y=y)
    (folder / f"{name}.npz").write_bytes(stream.getvalue())
    endings = ("h5", "keras", "weights.h5", "json", "npz")
    return {f"{name}.{ending}": (folder / f"{name}.{ending}").read_bytes() for ending in endings}


def main() -> int:
    """Write the archive of the Keras that is installed."""
    target = FOLDER / f"keras{version()}.zip"
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(target, "w") as archive:
        for name in MODELS:
            for member, content in files(name, Path(folder)).items():
                archive.writestr(zipfile.ZipInfo(member), content, zipfile.ZIP_DEFLATED, 9)
    print(f"{target.name}: {len(MODELS)} models, {target.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
