"""Tiny pipelines of diffusers' real classes with random weights, made without any file.

Weights that a fresh network has at zero, such as those of padding tokens and of the statistics of
an autoencoder, are drawn at random, as errors in their use would not show otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers as df
import torch
import transformers as tf
from tokenizers.pre_tokenizers import ByteLevel

from pipelines.bases.registry import FAMILIES

CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
BYTES = sorted(ByteLevel.alphabet())
PRINTABLE = [chr(code) for code in range(33, 127)]
QWEN_MARKS = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|image_pad|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|video_pad|>"),
]


def clip_tokenizer() -> Any:
    words = [*BYTES, *(f"{byte}</w>" for byte in BYTES), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    return tf.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def qwen_tokenizer() -> Any:
    vocabulary = {word: index for index, word in enumerate([*BYTES, *QWEN_MARKS])}
    tokenizer = tf.Qwen2Tokenizer(
        vocab=vocabulary, merges=[], extra_special_tokens=QWEN_MARKS[1:], model_max_length=4096
    )
    tokenizer.chat_template = CHAT
    return tokenizer


def t5_tokenizer() -> Any:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in PRINTABLE]
    return tf.T5Tokenizer(vocab=pieces, extra_ids=0)


def gemma_tokenizer() -> Any:
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", "\n", *PRINTABLE]
    return tf.GemmaTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[])


def clip_encoder(projected: bool = False, width: int = 32) -> Any:
    config = tf.CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
        projection_dim=width,
        hidden_act="gelu",
    )
    return (tf.CLIPTextModelWithProjection if projected else tf.CLIPTextModel)(config)


def t5_encoder(width: int = 32) -> Any:
    return tf.T5EncoderModel(
        tf.T5Config(
            vocab_size=98,
            d_model=width,
            d_kv=8,
            d_ff=37,
            num_layers=2,
            num_heads=4,
            pad_token_id=0,
            eos_token_id=1,
        )
    )


def gemma_encoder() -> Any:
    return tf.Gemma2Model(
        tf.Gemma2Config(
            vocab_size=101,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            bos_token_id=2,
            eos_token_id=1,
            pad_token_id=0,
            attn_implementation="eager",
        )
    )


def qwen3_config(layers: int) -> Any:
    return tf.Qwen3Config(
        vocab_size=263,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        bos_token_id=256,
        eos_token_id=256,
        pad_token_id=256,
        max_position_embeddings=1024,
    )


def kl_autoencoder(channels: int = 4, shift: float | None = None, scale: float = 0.18215) -> Any:
    return df.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=64,
        shift_factor=shift,
        scaling_factor=scale,
        use_quant_conv=shift is None,
        use_post_quant_conv=shift is None,
    )


def flux2_autoencoder() -> Any:
    vae = df.AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    )
    vae.bn.running_mean.normal_(0, 0.3)
    vae.bn.running_var.uniform_(0.5, 2.0)
    return vae


def sdxl() -> Any:
    unet = df.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=80,
        attention_head_dim=8,
        norm_num_groups=8,
        use_linear_projection=True,
        transformer_layers_per_block=(1, 2),
    )
    return df.StableDiffusionXLPipeline(
        vae=kl_autoencoder(scale=0.13025),
        text_encoder=clip_encoder(),
        text_encoder_2=clip_encoder(projected=True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet,
        scheduler=df.EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        ),
        add_watermarker=False,
    )


def sd15() -> Any:
    unet = df.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    return df.StableDiffusionPipeline(
        vae=kl_autoencoder(),
        text_encoder=clip_encoder(),
        tokenizer=clip_tokenizer(),
        unet=unet,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        scheduler=df.PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            steps_offset=1,
        ),
    )


def sana() -> Any:
    vae = df.AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock",) * 5 + ("EfficientViTBlock",),
        decoder_block_types=("ResBlock",) * 5 + ("EfficientViTBlock",),
        encoder_block_out_channels=(8,) * 6,
        decoder_block_out_channels=(8,) * 6,
        encoder_qkv_multiscales=((),) * 5 + ((5,),),
        decoder_qkv_multiscales=((),) * 5 + ((5,),),
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        scaling_factor=0.41407,
    )
    transformer = df.SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=4,
        attention_head_dim=8,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=16,
        cross_attention_dim=32,
        caption_channels=32,
        sample_size=2,
        patch_size=1,
    )
    return df.SanaPipeline(
        tokenizer=gemma_tokenizer(),
        text_encoder=gemma_encoder(),
        vae=vae,
        transformer=transformer,
        scheduler=df.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


def flux2_klein() -> Any:
    transformer = df.Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    return df.Flux2KleinPipeline(
        scheduler=df.FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, time_shift_type="exponential", shift=3.0
        ),
        vae=flux2_autoencoder(),
        text_encoder=tf.Qwen3ForCausalLM(qwen3_config(27)),
        tokenizer=qwen_tokenizer(),
        transformer=transformer,
    )


def z_image() -> Any:
    transformer = df.ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[1024, 64, 64],
    )
    with torch.no_grad():
        transformer.x_pad_token.normal_(0, 0.02)
        transformer.cap_pad_token.normal_(0, 0.02)
    return df.ZImagePipeline(
        scheduler=df.FlowMatchEulerDiscreteScheduler(shift=6.0),
        vae=kl_autoencoder(4, 0.1159, 0.3611),
        text_encoder=tf.Qwen3Model(qwen3_config(3)),
        tokenizer=qwen_tokenizer(),
        transformer=transformer,
    )


def pixart_sigma() -> Any:
    transformer = df.PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=32,
        caption_channels=32,
        sample_size=8,
        patch_size=2,
    )
    return df.PixArtSigmaPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5_encoder(),
        vae=kl_autoencoder(scale=0.13025),
        transformer=transformer,
        scheduler=df.DPMSolverMultistepScheduler(
            beta_start=0.0001, beta_end=0.02, beta_schedule="linear"
        ),
    )


def sd3() -> Any:
    transformer = df.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=64,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        out_channels=4,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
        dual_attention_layers=(0,),
    )
    return df.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=df.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=kl_autoencoder(4, 0.0609, 1.5305),
        text_encoder=clip_encoder(projected=True),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip_encoder(projected=True),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5_encoder(64),
        tokenizer_3=t5_tokenizer(),
    )


def lumina2() -> Any:
    transformer = df.Lumina2Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        hidden_size=32,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(4, 4, 8),
        axes_lens=(300, 64, 64),
        cap_feat_dim=32,
    )
    return df.Lumina2Pipeline(
        transformer=transformer,
        scheduler=df.FlowMatchEulerDiscreteScheduler(shift=6.0),
        vae=kl_autoencoder(4, 0.1159, 0.3611),
        text_encoder=gemma_encoder(),
        tokenizer=gemma_tokenizer(),
    )


def flux1() -> Any:
    transformer = df.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return df.FluxPipeline(
        scheduler=df.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        vae=kl_autoencoder(4, 0.1159, 0.3611),
        text_encoder=clip_encoder(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5_encoder(),
        tokenizer_2=t5_tokenizer(),
        transformer=transformer,
    )


def qwen_image() -> Any:
    vae = df.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 0.7, 2.0, 1.0],
    )
    transformer = df.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=3,
        joint_attention_dim=32,
        axes_dims_rope=(8, 4, 4),
    )
    config = tf.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 263,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [2, 3, 3],
                "rope_theta": 1e6,
            },
            "bos_token_id": 256,
            "eos_token_id": 256,
            "pad_token_id": 256,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": 32,
        },
        image_token_id=259,
        video_token_id=262,
        vision_start_token_id=260,
        vision_end_token_id=261,
    )
    return df.QwenImagePipeline(
        scheduler=df.FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True,
            shift_terminal=0.02,
            max_shift=0.9,
            base_shift=0.5,
            max_image_seq_len=8192,
        ),
        vae=vae,
        text_encoder=tf.Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=qwen_tokenizer(),
        transformer=transformer,
    )


def qwen3_vl_config(layers: int) -> Any:
    return tf.Qwen3VLConfig(
        text_config={
            "vocab_size": 263,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": layers,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [2, 1, 1],
                "rope_theta": 5e6,
            },
            "bos_token_id": 256,
            "eos_token_id": 256,
            "pad_token_id": 256,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=259,
        video_token_id=262,
        vision_start_token_id=260,
        vision_end_token_id=261,
    )


def ideogram4() -> Any:
    from diffusers.pipelines.ideogram4.pipeline_ideogram4 import QWEN3_VL_ACTIVATION_LAYERS

    config = qwen3_vl_config(max(QWEN3_VL_ACTIVATION_LAYERS) + 1)
    sizes = {
        "in_channels": 16,
        "num_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "adaln_dim": 16,
        "llm_features_dim": 16 * len(QWEN3_VL_ACTIVATION_LAYERS),
        "mrope_section": (4, 2, 2),
    }
    return df.Ideogram4Pipeline(
        scheduler=df.FlowMatchEulerDiscreteScheduler(),
        vae=flux2_autoencoder(),
        text_encoder=tf.Qwen3VLModel(config),
        tokenizer=qwen_tokenizer(),
        transformer=df.Ideogram4Transformer2DModel(**sizes),
        unconditional_transformer=df.Ideogram4Transformer2DModel(**sizes),
    )


def fibo() -> Any:
    vae = df.AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=4,
        in_channels=12,
        out_channels=12,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        patch_size=2,
        is_residual=True,
        scale_factor_spatial=16,
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 0.7, 2.0, 1.0],
    )
    transformer = df.BriaFiboTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=3,  # one more block than the text encoder has layers
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=[4, 4, 8],
        text_encoder_dim=16,
    )
    config = tf.SmolLM3Config(
        vocab_size=128001,  # the null condition is this token
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        bos_token_id=256,
        eos_token_id=256,
        pad_token_id=256,
    )
    return df.BriaFiboPipeline(
        transformer=transformer,
        scheduler=df.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=tf.SmolLM3ForCausalLM(config),
        tokenizer=qwen_tokenizer(),
    )


def fibo2() -> Any:
    from diffusers.pipelines.bria_fibo2.pipeline_bria_fibo2 import TEXT_ENCODER_OUT_LAYERS

    config = qwen3_vl_config(max(map(max, TEXT_ENCODER_OUT_LAYERS)) + 1)
    transformer = df.BriaFibo2Transformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=3,
        n_refiner_layers=1,
        n_heads=2,
        cap_feat_dim=48,
        injection_layer_ids=(0, 1, 2, 2, 2),
        perceiver_num_layers=1,
        min_num_gist_tokens=4,
        max_num_gist_tokens=8,
        gist_step=1,
        gist_min_text_len=16,
        gist_max_text_len=200,
        axes_dims=(8, 4, 4),
        axes_lens=(64, 64, 64),
    )
    processor = tf.Qwen3VLProcessor(
        image_processor=tf.Qwen2VLImageProcessor(),
        tokenizer=qwen_tokenizer(),
        video_processor=tf.Qwen3VLVideoProcessor(),
        chat_template=CHAT,
    )
    return df.BriaFibo2Pipeline(
        transformer=transformer,
        scheduler=df.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=flux2_autoencoder(),
        text_encoder=tf.Qwen3VLForConditionalGeneration(config),
        processor=processor,
    )


BUILDERS: dict[str, Callable[[], Any]] = {
    "sdxl": sdxl,
    "sd15": sd15,
    "sana": sana,
    "flux2-klein": flux2_klein,
    "z-image": z_image,
    "sd3": sd3,
    "flux1": flux1,
    "qwen-image": qwen_image,
    "pixart-sigma": pixart_sigma,
    "lumina2": lumina2,
    "ideogram4": ideogram4,
    "fibo": fibo,
    "fibo2": fibo2,
}
"""Family -> what makes its tiny pipeline."""


def build(family: str) -> Any:
    """Make a family's tiny pipeline; its weights are always the same."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    pipe = BUILDERS[family]()
    torch.set_rng_state(state)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def save(family: str, folder: Path) -> Path:
    """Save a family's tiny pipeline."""
    build(family).save_pretrained(folder)
    return folder


AVAILABLE = [family.name for family in FAMILIES if hasattr(df, family.pipelines[0])]
"""Families that the installed diffusers knows: the oldest that is allowed lacks some."""
