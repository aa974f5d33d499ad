"""Words of the simulated catalogue: titles of a category's items use its words, so that text clustering can find it."""

from __future__ import annotations

THEMES: dict[str, tuple[str, ...]] = {
    "garden": ("spade", "planter", "trellis", "watering can", "seedling", "hose", "compost", "pruner"),
    "kitchen": ("saucepan", "ladle", "chopping board", "whisk", "colander", "skillet", "grater", "apron"),
    "toys": ("puzzle", "teddy bear", "toy train", "building blocks", "doll", "spinning top", "marbles", "kite"),
    "books": ("novel", "cookbook", "atlas", "poetry", "biography", "dictionary", "comic", "anthology"),
    "shoes": ("sneakers", "loafers", "boots", "sandals", "slippers", "heels", "laces", "insoles"),
    "phones": (
        "smartphone",
        "handset",
        "phone case",
        "charger",
        "screen protector",
        "earbuds",
        "sim card",
        "power bank",
    ),
    "computers": ("laptop", "keyboard", "monitor", "mouse", "graphics card", "router", "hard drive", "webcam"),
    "fishing": ("fishing rod", "reel", "lure", "tackle box", "landing net", "waders", "float", "bait"),
    "cycling": ("bicycle", "helmet", "saddle", "pedal", "inner tube", "handlebar", "derailleur", "pannier"),
    "baby": ("stroller", "pacifier", "crib", "bib", "nappies", "rattle", "baby monitor", "bottle warmer"),
    "beauty": ("lipstick", "mascara", "moisturiser", "perfume", "nail polish", "serum", "blusher", "face mask"),
    "jewellery": ("necklace", "bracelet", "earrings", "pendant", "brooch", "ring", "cufflinks", "anklet"),
    "camping": ("tent", "sleeping bag", "lantern", "camp stove", "rucksack", "hammock", "compass", "groundsheet"),
    "music": ("guitar", "ukulele", "drumsticks", "violin", "sheet music", "metronome", "amplifier", "harmonica"),
    "pets": ("dog lead", "cat litter", "aquarium", "scratching post", "bird feeder", "kennel", "collar", "hay rack"),
    "office": ("stapler", "notebook", "fountain pen", "ring binder", "envelope", "calendar", "paper clip", "desk lamp"),
    "bedding": ("duvet", "pillowcase", "mattress", "quilt", "bed sheet", "bolster", "blanket", "eiderdown"),
    "lighting": (
        "chandelier",
        "light bulb",
        "lampshade",
        "spotlight",
        "floor lamp",
        "fairy lights",
        "dimmer",
        "sconce",
    ),
    "tools": ("hammer", "screwdriver", "spanner", "drill bit", "spirit level", "handsaw", "pliers", "chisel"),
    "fitness": (
        "dumbbell",
        "yoga mat",
        "kettlebell",
        "skipping rope",
        "treadmill",
        "resistance band",
        "bench",
        "foam roller",
    ),
    "wine": ("claret", "chardonnay", "corkscrew", "decanter", "riesling", "prosecco", "wine rack", "rioja"),
    "crafts": ("knitting wool", "crochet hook", "embroidery", "glue gun", "beads", "felt", "sewing kit", "ribbon"),
    "watches": ("chronograph", "wristwatch", "watch strap", "pocket watch", "dial", "stopwatch", "bezel", "smartwatch"),
    "photography": ("camera", "tripod", "lens", "flash gun", "photo album", "filter", "camera bag", "film roll"),
}
ADJECTIVES = ("vintage", "classic", "large", "small", "red", "blue", "premium", "handmade", "folding", "everyday")

_SYLLABLES = ("ba", "do", "ki", "lu", "me", "no", "ra", "su", "ti", "ve", "zo", "pha", "gri", "ste", "mon", "qui")


def category_names(count: int) -> list[str]:
    """Names of `count` categories: the themes, then `line 25`, `line 26`, …"""
    themes = list(THEMES)
    return [themes[index] if index < len(themes) else f"line {index + 1}" for index in range(count)]


def category_words(index: int) -> tuple[str, ...]:
    """Words of the category at `index`; beyond the themes they are made of syllables, distinct by category."""
    if index < len(THEMES):
        return tuple(THEMES.values())[index]
    base = len(_SYLLABLES)
    stem = _SYLLABLES[index % base] + _SYLLABLES[index // base % base]
    return tuple(stem + syllable for syllable in _SYLLABLES[:8])
