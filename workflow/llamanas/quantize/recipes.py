"""Named ways to quantize, as the configuration gives them. Imported while Snakemake parses."""

from llamanas.errors import LlamaNasError

FLOAT = "fp32"  # the name of the files that are not quantized
PARTS = ("qkv", "o", "gate_up", "down", "head")  # matrix products; those of one input are quantized alike
MEASURED = ("dynamic", "budget")  # methods that need the sensitivity of each product
SETTINGS: dict[str, dict] = {
    "weight_only": {"bits": 8, "block_size": 32, "symmetric": True, "eight_bits": [], "equalize": True},
    "dynamic": {"float_share": 0.2, "equalize": True},
    "budget": {"bits_per_weight": 6.5, "equalize": True},
    "float16": {},
}


def complete_recipes(recipes: dict[str, dict], precisions: list[str]) -> dict[str, dict]:
    """The recipes with the default settings of their methods.

    Raises:
        LlamaNasError: a recipe has a setting that its method does not use, or a precision is none of the recipes.
    """
    if FLOAT in recipes:
        raise LlamaNasError(f"quantize.recipes.{FLOAT}: this name is taken by the files that are not quantized.")
    for name, recipe in recipes.items():
        known = SETTINGS[recipe["method"]]
        if wrong := sorted(recipe.keys() - known.keys() - {"method"}):
            raise LlamaNasError(
                f"quantize.recipes.{name}: method {recipe['method']!r} has no setting {', '.join(wrong)}; it has "
                f"{', '.join(known) or 'none'}."
            )
    if unknown := sorted(set(precisions) - recipes.keys() - {FLOAT}):
        raise LlamaNasError(
            f"export.precisions names {', '.join(unknown)}, which quantize.recipes does not define; it defines "
            f"{', '.join(recipes)}, and {FLOAT} is always there."
        )
    return {name: SETTINGS[recipe["method"]] | recipe for name, recipe in recipes.items()}


def part_of(product: str) -> str:
    """Which of :data:`PARTS` a product is, such as ``model.layers.3.mlp.down_proj``."""
    return product.rsplit(".", 1)[-1].removeprefix("lm_").removesuffix("_proj")
