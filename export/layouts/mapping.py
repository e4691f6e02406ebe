"""What raxe 0.15.0 calls our families and sub-families; severity, technique and harm are not learned but read off here.

We have no labels for its severity, technique and harm heads. So each of our names has one row below, chosen by what the
names mean; a sub-family without a row takes that of its family, a family without one the last. The table is copied into
the model card of every folder that is written from it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Derived:
    """What one of our names becomes."""

    severity: str
    technique: str
    harm: str


OUR_FAMILIES = {
    "PI": "prompt_injection",
    "JB": "jailbreak",
    "CMD": "tool_or_command_abuse",
    "PII": "data_exfiltration",
    "ENC": "encoding_or_obfuscation_attack",
    "RAG": "rag_or_context_attack",
    "TOX": "toxic_or_policy_violating_content",
}
OTHER_FAMILY = "other_security"

BY_FAMILY = {
    "PI": Derived("moderate", "instruction_override", "other_harm"),
    "JB": Derived("moderate", "safety_bypass_harmful_output", "other_harm"),
    "CMD": Derived("severe", "tool_or_command_injection", "cybersecurity_or_malware"),
    "PII": Derived("severe", "data_exfil_user_content", "privacy_or_pii"),
    "ENC": Derived("moderate", "encoding_or_obfuscation", "other_harm"),
    "RAG": Derived("moderate", "indirect_injection_via_content", "other_harm"),
}
OTHER = Derived("moderate", "other_attack_technique", "other_harm")

BY_SUBFAMILY = {
    "cmd_code_execution": Derived("severe", "tool_or_command_injection", "cybersecurity_or_malware"),
    "cmd_database": Derived("severe", "tool_or_command_injection", "cybersecurity_or_malware"),
    "cmd_interpreter_abuse": Derived("severe", "privilege_escalation_via_tool", "cybersecurity_or_malware"),
    "cmd_markup": Derived("moderate", "tool_or_command_injection", "cybersecurity_or_malware"),
    "cmd_shell": Derived("severe", "tool_or_command_injection", "cybersecurity_or_malware"),
    "enc_base_encoding": Derived("moderate", "encoding_or_obfuscation", "other_harm"),
    "enc_cipher": Derived("moderate", "encoding_or_obfuscation", "other_harm"),
    "enc_lookalike": Derived("moderate", "encoding_or_obfuscation", "other_harm"),
    "enc_obfuscation": Derived("moderate", "hidden_or_steganographic_prompt", "other_harm"),
    "jb_adversarial_suffix": Derived("severe", "eval_or_guardrail_evasion", "other_harm"),
    "jb_output_constraint": Derived("moderate", "policy_override_or_rewriting", "other_harm"),
    "jb_persona": Derived("moderate", "role_or_persona_manipulation", "other_harm"),
    "jb_scenario": Derived("moderate", "safety_bypass_harmful_output", "other_harm"),
    "pi_context_manipulation": Derived("moderate", "context_or_delimiter_injection", "other_harm"),
    "pi_instruction_override": Derived("moderate", "instruction_override", "other_harm"),
    "pi_task_hijack": Derived("moderate", "goal_redirection", "other_harm"),
    "pii_data_extraction": Derived("severe", "data_exfil_user_content", "privacy_or_pii"),
    "pii_secret_extraction": Derived("severe", "data_exfil_system_prompt_or_config", "privacy_or_pii"),
    "pii_system_prompt": Derived("moderate", "system_prompt_or_config_extraction", "privacy_or_pii"),
    "rag_instruction_in_content": Derived("moderate", "indirect_injection_via_content", "other_harm"),
    "rag_poisoned_document": Derived("moderate", "rag_poisoning_or_context_bias", "other_harm"),
    "rag_tool_response": Derived("severe", "tool_abuse_or_unintended_action", "cybersecurity_or_malware"),
}


def family_of(family: str) -> str:
    return OUR_FAMILIES.get(family, OTHER_FAMILY)


def derived_from(subfamily: str, family: str) -> Derived:
    """family: the one that the sub-family belongs to."""
    return BY_SUBFAMILY.get(subfamily) or BY_FAMILY.get(family, OTHER)
