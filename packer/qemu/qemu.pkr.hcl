# An image for KVM and OpenStack, made from a distribution's cloud image.

locals {
  builder = "qemu"
}

variable "image_url" {
  type        = string
  description = "The cloud image to start from: a path, or an address."
}

variable "image_checksum" {
  type        = string
  description = "Its checksum, as Packer writes it: sha256:... or sha512:..."
}

variable "seed" {
  type        = list(string)
  default     = []
  description = "Paths of the files user-data and meta-data for cloud-init; they let Packer in with the key below."
}

variable "ssh_username" {
  type    = string
  default = "root"
}

variable "ssh_private_key_file" {
  type = string
}

variable "accelerator" {
  type        = string
  default     = "kvm"
  description = "tcg is software emulation: it works everywhere, and takes some minutes more."
  validation {
    condition     = contains(["kvm", "tcg", "hvf"], var.accelerator)
    error_message = "The accelerator value must be kvm, tcg or hvf."
  }
}

variable "output_directory" {
  type    = string
  default = "output"
}

variable "qemu_arguments" {
  type        = list(list(string))
  default     = []
  description = "More arguments for QEMU; arm64 needs its firmware: [[\"-bios\", \"/usr/share/qemu-efi-aarch64/QEMU_EFI.fd\"]]."
}

source "qemu" "mailcow-ready" {
  qemu_binary          = var.architecture == "arm64" ? "qemu-system-aarch64" : "qemu-system-x86_64"
  machine_type         = var.architecture == "arm64" ? "virt" : "pc"
  accelerator          = var.accelerator
  iso_url              = var.image_url
  iso_checksum         = var.image_checksum
  disk_image           = true
  skip_resize_disk     = true
  format               = "qcow2"
  cd_files             = var.seed
  cd_label             = "cidata"
  memory               = 2048
  cpus                 = 2
  headless             = true
  boot_wait            = "1s"
  qemuargs             = var.qemu_arguments
  ssh_username         = var.ssh_username
  ssh_private_key_file = var.ssh_private_key_file
  ssh_timeout          = "20m"
  shutdown_command     = "${var.become} systemctl poweroff"
  shutdown_timeout     = "10m"
  output_directory     = var.output_directory
  vm_name              = "${var.snapshot_name}.qcow2"
}
