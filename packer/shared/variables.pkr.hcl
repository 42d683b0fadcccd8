# What every builder asks for. Each builder's directory links to this file.

variable "cowgate_pyz" {
  type        = string
  description = "Path of cowgate.pyz on this machine; hooks/build-pyz makes it."
}

variable "cowgate_sha256" {
  type        = string
  description = "SHA-256 digest of that file. It is compared inside the machine, after the upload."
  validation {
    condition     = length(var.cowgate_sha256) == 64
    error_message = "The cowgate_sha256 value must be the 64 hexadecimal digits that sha256sum prints."
  }
}

variable "policy" {
  type        = string
  default     = "/dev/null"
  description = "A policy file to put into the image as /etc/cowgate/policy.yaml; it must not set a host name."
}

variable "architecture" {
  type    = string
  default = "x86_64"
  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "The architecture value must be x86_64 or arm64."
  }
}

variable "mailcow_version" {
  type        = string
  default     = ""
  description = "Branch, tag or commit of mailcow whose Docker images are pulled into the image; empty: none."
}

variable "onboarding" {
  type        = bool
  default     = false
  description = "Ask for host name and time zone at the first login, and install mailcow then: for marketplace images."
}

variable "customize_script" {
  type        = string
  default     = "/dev/null"
  description = "A script of yours (POSIX sh, run as root) between the checks and the seal."
}

variable "become" {
  type        = string
  default     = ""
  description = "What makes a command run as root where the SSH user is not root, for example: sudo -n"
}

variable "report_directory" {
  type        = string
  default     = "reports"
  description = "Where the build report goes on this machine. It stays when the build fails."
}

variable "snapshot_name" {
  type    = string
  default = "mailcow-ready"
}
